// What the identity provider remembers: oidc-provider's adapter, over one map.
//
// It is shared by the providers that follow each other when keys are rotated, so that registrations, grants and refresh
// tokens outlive a rotation. It forgets only what the provider tells it to: a test is short, and what it keeps is small.

// A class of adapters over a memory of their own.
export function memory() {
  const kept = new Map();

  return class Store {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload, expiresInSeconds) {
      const ends = expiresInSeconds === undefined ? Infinity : Date.now() + expiresInSeconds * 1000;
      kept.set(this.key(id), { model: this.model, payload, ends });
    }

    async find(id) {
      const found = kept.get(this.key(id));
      return found && found.ends > Date.now() ? found.payload : undefined;
    }

    async findByUid(uid) {
      return this.search((payload) => payload.uid === uid);
    }

    async findByUserCode(userCode) {
      return this.search((payload) => payload.userCode === userCode);
    }

    async consume(id) {
      const found = kept.get(this.key(id));
      if (found) found.payload.consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      kept.delete(this.key(id));
    }

    async revokeByGrantId(grantId) {
      for (const [key, { payload }] of kept) if (payload.grantId === grantId) kept.delete(key);
    }

    search(isIt) {
      const now = Date.now();
      for (const { model, payload, ends } of kept.values()) {
        if (model === this.model && ends > now && isIt(payload)) return payload;
      }
      return undefined;
    }
  };
}
