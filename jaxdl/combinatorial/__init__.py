# SPDX-License-Identifier: Apache-2.0
"""Combinatorial optimization: policies that divide and policies that conquer.

A problem is a tuple of pure functions, `CombinatorialProblem`.
"""
