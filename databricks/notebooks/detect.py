# Databricks notebook source
# MAGIC %md
# MAGIC # Mechanism Y: detect
# MAGIC Works off the landed chunks on this cluster, then shows what was found. The jobs of the bundle do the same; this
# MAGIC is for seeing it.
# MAGIC
# MAGIC It needs a cluster with dedicated access mode on which tillwatch is installed, such as the bundle's.

# COMMAND ----------

dbutils.widgets.text("config", "../tillwatch.yaml")
dbutils.widgets.text("catalog", "main")
dbutils.widgets.text("schema", "tillwatch")
dbutils.widgets.text("volume", "live")
dbutils.widgets.text("state", "")
dbutils.widgets.text("overrides", "")

# COMMAND ----------

import os
import shlex

from tillwatch import Pipeline

said = {name: dbutils.widgets.get(name) for name in ("config", "catalog", "schema", "volume", "state", "overrides")}
os.environ["TILLWATCH_VOLUME"] = "/Volumes/{catalog}/{schema}/{volume}".format(**said)
os.environ["TILLWATCH_STATE"] = said["state"]
pipeline = Pipeline.open(said["config"], shlex.split(said["overrides"]))

# COMMAND ----------

# MAGIC %md
# MAGIC The Spark session of the notebook is used, and stays.

# COMMAND ----------

pipeline.detect(once=True, observer=print)

# COMMAND ----------

# MAGIC %md
# MAGIC What was found so far, with the evidence.

# COMMAND ----------

found = pipeline.detections().to_pandas()
display(found)
