-- Stands in for OpenResty's lua-resty-balancer, which Debian does not have: one node after the other, without weights.
local _M = {}
_M.__index = _M

function _M.new(_, nodes)
  local self = setmetatable({}, _M)
  self:reinit(nodes)
  return self
end

function _M.reinit(self, nodes)
  self.nodes = nodes
  self.ids = {}
  for id in pairs(nodes) do
    self.ids[#self.ids + 1] = id
  end
  table.sort(self.ids)
  self.last = #self.ids > 0 and math.random(#self.ids) or 0
end

function _M.find(self)
  self.last = self.last % #self.ids + 1
  return self.ids[self.last]
end

return _M
