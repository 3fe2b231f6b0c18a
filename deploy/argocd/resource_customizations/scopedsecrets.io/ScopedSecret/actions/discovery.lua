-- What can be done by hand, as `kubectl scoped-secrets refresh`, `rotate` and `revoke` do it: by an annotation.
local annotations = obj.metadata.annotations or {}
local target = obj.spec.target or {}
return {
  ["refresh"] = {
    displayName = "Refresh: ask the secrets manager now",
    iconClass = "fa fa-fw fa-sync",
    disabled = target.immutable == true,
  },
  ["rotate"] = {
    displayName = "Rotate: a new value now",
    iconClass = "fa fa-fw fa-key",
    disabled = obj.spec.rotation == nil,
  },
  ["revoke"] = {
    displayName = "Revoke: the value has leaked, take it away everywhere",
    iconClass = "fa fa-fw fa-ban",
    disabled = annotations["scopedsecrets.io/revoke"] == "true",
  },
}
