"""The recurrence compiler: StableHLO in, one artifact out."""
