# SPDX-License-Identifier: Apache-2.0
"""The WSGI entry point for other servers: `zaqar.transport.wsgi.app:application`.

Reads the configuration when it is imported, which no other module does, and opens the
store in the process that serves, also where a server forks after the import.
"""

from oslo_log import log

from zaqar import conf
from zaqar.server.processes import PerProcessApplication

settings = conf.load(program="zaqar-wsgi", transport="wsgi")
log.setup(settings.config, "zaqar")
application = app = PerProcessApplication(settings)
