# SPDX-License-Identifier: Apache-2.0
"""Sets a Keystone up, and serves it under gunicorn; run as a program.

    python tests/keystone_program.py CONFIG_FILE PORT PASSWORD

`keystone-manage` sets it up by all migrations since the first, in half a minute.
"""

import base64
import os
import sys
from pathlib import Path


def prepare(config_file: str, url: str, password: str) -> None:
    import keystone.server
    from keystone.cmd.bootstrap import Bootstrapper
    from keystone.common import sql

    keystone.server.configure(config_files=[config_file])
    for folder in ("fernet", "credential"):
        keys = Path(config_file).with_name(folder)
        keys.mkdir(mode=0o700)
        for name in "01":
            (keys / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    # It loads the backends, which makes their tables known.
    first = Bootstrapper()
    with sql.session_for_write() as session:
        sql.ModelBase.metadata.create_all(session.connection())

    first.admin_username, first.admin_password = "admin", password
    first.project_name, first.admin_role_name = "admin", "admin"
    first.service_name, first.region_id = "keystone", "one"
    first.public_url = first.internal_url = first.admin_url = url
    first.bootstrap()


def serve(port: int) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", f"127.0.0.1:{port}")
            # NOTE: one request at a time: each login writes, and SQLite lets one thread
            # of those that read first do so; the others fail, or wait for long.
            self.cfg.set("threads", 1)
            self.cfg.set("control_socket_disable", True)

        def load(self) -> object:
            from keystone.wsgi.api import application

            return application

    Server().run()


def main() -> None:
    file, port, password = sys.argv[1:]
    # Keystone would read them.
    del sys.argv[1:]
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(Path(file).parent)
    if not Path(file).with_name("fernet").exists():
        # In a process of its own: a server sets Keystone up by itself.
        child = os.fork()
        if not child:
            prepare(file, f"http://127.0.0.1:{port}/v3", password)
            os._exit(0)
        os.waitpid(child, 0)
    serve(int(port))


if __name__ == "__main__":
    main()
