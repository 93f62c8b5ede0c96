from mlflow_store import mlflow_store, no_tracking_uri_from_outside

__all__ = ["mlflow_store", "no_tracking_uri_from_outside"]
