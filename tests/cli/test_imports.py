"""What a command loads before it is known which one it is: seconds that every call would wait for."""

import subprocess
import sys

HEAVY = "ray torch scipy onnxruntime onnx sqlalchemy alembic psycopg pyarrow shapely matplotlib trimesh obstore confluent_kafka"


def test_the_command_line_loads_what_most_commands_need_and_no_more() -> None:
    code = f"import sys, quandary_server.cli.app; print([name for name in {HEAVY.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
