"""What is to be known of a model, as Markdown."""

from ecgsynth.generators import Generator

# By whether a model learns from beats at all.
_UNTOLD = {True: "not told, for privacy", False: "none: it learns from nobody"}
_REMEMBERS = {
    True: "A model learnt from people can remember them.",
    False: "It learnt from nobody, only which labels and leads there are, and in what window: there is nobody whom it could remember.",
}


def model_card(model: Generator) -> str:
    """Write the card of a model by what its file says: what it learnt, its settings, and what it promises."""
    rows = {
        "Generator": f"`{model.name}`",
        "Learnt": ", ".join(f"{label} {count:,}" if model.learns else label for label, count in model.counts.items()),
        "Leads": ", ".join(name or "not named" for name in model.leads),
        "Window": f"{model.shape_['n_samples']} samples at {model.shape_['fs']:g} Hz, R peak at sample {model.shape_['r_sample']}",
        "Settings": ", ".join(f"{name} {value}" for name, value in model.params.items()),
        "SHA-256": f"`{model.fingerprint()}`",
        "Data SHA-256": f"`{model.shape_['data_sha256']}`" if model.shape_.get("data_sha256") else _UNTOLD[model.learns],
    }
    if model.holds_real_beats:
        rows["Real beats"] = "held in this file: guard it as you guard them"
    if device := model.shape_.get("trained_on"):
        rows["Trained on"] = device
    if promise := model.shape_.get("privacy"):
        rows["Differential privacy"] = ", ".join(f"{name} {value}" for name, value in promise.items())
    lines = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    limits = f"For research, teaching and development, not for diagnosis. {_REMEMBERS[model.learns]}"
    return f"# The model\n\n| | |\n|---|---|\n{lines}\n\n{limits}\n"
