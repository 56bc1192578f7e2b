"""From records to effects and verdicts: nothing here trains, draws or words."""
