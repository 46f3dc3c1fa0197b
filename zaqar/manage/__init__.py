# SPDX-License-Identifier: Apache-2.0
"""`zaqar-manage`: the operator's command, which works on the registry directly."""
