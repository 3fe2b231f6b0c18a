-- One script for every kind of scopedsecrets.io: `make generate` copies it from ScopedSecret to the others, and into argocd-cm.yaml.
-- It says what kstatus says (Flux, helm 4 --wait): a refusal is Degraded at once; an outage of the secrets manager is not.
local status = obj.status
if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "it is being deleted"}
end
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not looked at it yet"}
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end

local function is(kind, value)
  return found[kind] ~= nil and found[kind].status == value
end

local function health(as, kind)
  return {status = as, message = found[kind].reason .. ": " .. found[kind].message}
end

-- A grant that has ended did what it was for.
if obj.kind == "SecretGrant" and is("Expired", "True") then
  return health("Suspended", "Expired")
end
if is("Stalled", "True") then
  return health("Degraded", "Stalled")
end
if is("Reconciling", "True") then
  return health("Progressing", "Reconciling")
end
-- A KeyRevocation is complete where others are ready.
local ready = "Ready"
if found.Complete ~= nil then
  ready = "Complete"
end
if not is(ready, "True") then
  if found[ready] == nil then
    return {status = "Progressing", message = "the operator has not looked at it yet"}
  end
  return health("Progressing", ready)
end
-- It can be used. What else is to be known takes nothing from it.
for _, kind in ipairs({"Authorized", "Synced", "Unique", "Rotated", "Separated"}) do
  if found[kind] ~= nil and found[kind].status ~= "True" then
    return health("Healthy", kind)
  end
end
return health("Healthy", ready)
