# SPDX-License-Identifier: Apache-2.0
"""A multi-tenant message queue service, compatible with the Zaqar queues API."""

__version__ = "0.1.0"
