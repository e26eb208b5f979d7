"""Labelled synthetic ECG heartbeats, with the proof of what they are worth."""
