export const meta = { name: 'trap-in-revoked-proxy', description: 'a proxy that was revoked' }
// {"threw": "TypeError: revoked proxy"}
const { proxy, revoke } = Proxy.revocable({}, {})
revoke()
return proxy
