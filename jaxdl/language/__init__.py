# SPDX-License-Identifier: Apache-2.0
"""Language models as agents: asking endpoints, and what agents do together."""
