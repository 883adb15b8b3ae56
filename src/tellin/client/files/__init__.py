# SPDX-License-Identifier: MIT
"""The files of the other side: one by one, in whole trees, and made like those of this side."""
