"""Imports what the tests take long to import, for mutation testing: each mutant runs in a copy of a process that has this."""

import neurokit2  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.signal  # noqa: F401
import scipy.spatial  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.cluster  # noqa: F401
import sklearn.decomposition  # noqa: F401
import sklearn.ensemble  # noqa: F401
import sklearn.metrics  # noqa: F401
import sklearn.neighbors  # noqa: F401
import wfdb  # noqa: F401
