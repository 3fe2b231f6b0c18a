-- Any new value acts once.
local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["scopedsecrets.io/rotate-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
