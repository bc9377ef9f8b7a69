-- Stands in for OpenResty's lua-resty-balancer, which Debian does not have: the same key gives the same node while the nodes stay.
local roundrobin = require("resty.roundrobin")

local _M = setmetatable({}, { __index = roundrobin })
_M.__index = _M

function _M.new(_, nodes)
  local self = setmetatable({}, _M)
  self:reinit(nodes)
  return self
end

function _M.find(self, key)
  return self.ids[ngx.crc32_long(tostring(key)) % #self.ids + 1]
end

return _M
