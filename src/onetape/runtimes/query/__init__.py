"""SQL over what runs leave behind: Parquet outputs, tapes, checkpoints."""
