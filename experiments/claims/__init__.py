# SPDX-License-Identifier: Apache-2.0
"""Claims of the papers, as predicates over what the experiments measure.

Each module has `CLAIMS: dict[str, (description, fn)]` with
`fn(seeds: tuple[int, ...]) -> (held: bool, figure: str)`.
"""
