-- Loaded by the controller, and not called by the tests. Debian does not have it.
local _M = {}

function _M.new()
  return nil, "not there"
end

return _M
