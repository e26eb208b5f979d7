"""Imports what the tests take long to import, for mutation testing: each mutant runs in a copy of a process that has this."""

# ruff: noqa: F401

import neurokit2
import pyarrow.parquet
import scipy.signal
import scipy.spatial
import scipy.stats
import sklearn.cluster
import sklearn.decomposition
import sklearn.ensemble
import sklearn.metrics
import sklearn.neighbors
import wfdb
