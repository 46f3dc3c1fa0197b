# SPDX-License-Identifier: Apache-2.0
"""The load tool: drives a running service over HTTP and measures it."""
