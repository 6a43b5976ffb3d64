"""The ``nova-async`` command."""

from nova_async.cli import main

if __name__ == "__main__":
    main()
