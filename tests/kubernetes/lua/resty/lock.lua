-- Stands in for lua-resty-lock, which Debian does not have: a lock that is never waited for.
local _M = {}
_M.__index = _M

function _M.new(_, dict, options)
  return setmetatable({ dict = ngx.shared[dict], exptime = options.exptime }, _M)
end

function _M.lock(self, key)
  if not self.dict:add(key, true, self.exptime) then
    return nil, "timeout"
  end
  self.key = key
  return 0
end

function _M.unlock(self)
  self.dict:delete(self.key)
  return 1
end

return _M
