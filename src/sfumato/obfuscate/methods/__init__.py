"""The methods that Sfumato brings: each hides the faces of one picture."""
