# SPDX-License-Identifier: MIT
"""What a file server serves: the files of this machine, of one directory, of memory or of anything else."""
