"""What `adtool bench` measures: operators, models and the scoring pipeline, each a document of rows."""
