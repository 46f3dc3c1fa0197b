# SPDX-License-Identifier: Apache-2.0
"""The WSGI entry point for other servers: `zaqar.transport.wsgi.app:application`.

Reads the configuration when it is imported, which no other module does, and opens the
store in the process that serves, also where a server forks after the import.
"""

from zaqar import conf
from zaqar.server.processes import PerProcessApplication

application = app = PerProcessApplication(conf.load())
