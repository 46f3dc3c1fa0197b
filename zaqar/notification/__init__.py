# SPDX-License-Identifier: Apache-2.0
"""Deliveries to subscribers: what is sent, to whom, how, and when again."""
