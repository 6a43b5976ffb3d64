"""The database: a pool, the statements of ``sql/queries`` as typed functions, and the migrations."""

from nova_async.db.database import Connection, Database
from nova_async.db.query import Query

__all__ = ["Connection", "Database", "Query"]
