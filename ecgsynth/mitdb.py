"""Facts of the MIT-BIH Arrhythmia Database: records, patients, the inter-patient division.

References
----------
Moody GB, Mark RG. The impact of the MIT-BIH Arrhythmia Database. IEEE Eng Med Biol 20(3):45-50
(2001), doi:10.1109/51.932724. Division: de Chazal P, O'Dwyer M, Reilly RB. Automatic classification
of heartbeats using ECG morphology and heartbeat interval features. IEEE Trans Biomed Eng
51(7):1196-1206 (2004), doi:10.1109/TBME.2004.827359.
"""

FS = 360.0
N_SAMPLES = 650_000

DS1 = (
    "101",
    "106",
    "108",
    "109",
    "112",
    "114",
    "115",
    "116",
    "118",
    "119",
    "122",
    "124",
    "201",
    "203",
    "205",
    "207",
    "208",
    "209",
    "215",
    "220",
    "223",
    "230",
)
DS2 = (
    "100",
    "103",
    "105",
    "111",
    "113",
    "117",
    "121",
    "123",
    "200",
    "202",
    "210",
    "212",
    "213",
    "214",
    "219",
    "221",
    "222",
    "228",
    "231",
    "232",
    "233",
    "234",
)
PACED = ("102", "104", "107", "217")
"""Records of paced patients, which AAMI leaves out."""

RECORDS = tuple(sorted(DS1 + DS2 + PACED))

SAME_PATIENT = {"202": "201"}
"""Record -> the record under whose name its patient goes: 201 and 202 are one person."""


def is_mitdb(name: str, fs: float, n_samples: int) -> bool:
    """Tell whether a record is one of MIT-BIH, by its name and its length.

    Other databases use the same numbers for other people, so the name alone does not do.
    """
    return name in RECORDS and fs == FS and n_samples == N_SAMPLES
