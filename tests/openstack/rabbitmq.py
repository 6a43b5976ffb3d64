"""RabbitMQ, which the programs of Neutron and Cinder need between them."""

from tests.openstack.programs import Programs

PORT = 5672
URL = f"rabbit://guest:guest@127.0.0.1:{PORT}/"


def start(programs: Programs) -> None:
    folder = programs.folder / "rabbitmq"
    folder.mkdir()
    (folder / "plugins").write_text("[].\n")
    environment = {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "services@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(PORT),
        "RABBITMQ_MNESIA_BASE": str(folder / "db"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    programs.start("rabbitmq", "/usr/lib/rabbitmq/bin/rabbitmq-server", **environment)
