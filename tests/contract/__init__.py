# SPDX-License-Identifier: Apache-2.0
"""The facts that every store must keep, written once and inherited by each driver."""
