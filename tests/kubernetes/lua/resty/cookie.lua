-- Stands in for lua-resty-cookie, which Debian does not have: one cookie in an answer.
local _M = {}
_M.__index = _M

function _M.new()
  return setmetatable({}, _M)
end

function _M.get(_, name)
  return ngx.var["cookie_" .. name]
end

function _M.set(_, cookie)
  local text = cookie.key .. "=" .. cookie.value .. "; Path=" .. (cookie.path or "/")
  if cookie.max_age then
    text = text .. "; Max-Age=" .. cookie.max_age
  end
  ngx.header["Set-Cookie"] = text .. (cookie.httponly and "; HttpOnly" or "")
  return true
end

return _M
