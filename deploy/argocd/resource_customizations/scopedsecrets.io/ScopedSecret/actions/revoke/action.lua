-- Makes a KeyRevocation of each of its keys. Taking the annotation off lifts nothing: delete those.
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["scopedsecrets.io/revoke"] = "true"
return obj
