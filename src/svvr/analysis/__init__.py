"""From the records to effects, intervals and verdicts: frames in, frames and plain types out."""
