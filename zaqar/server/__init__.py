# SPDX-License-Identifier: Apache-2.0
"""Running the service: processes, HTTP engines, the report at start."""
