// A person at a browser: follows an authorization request to its end, which is a redirect to the program that began it.
//
// The identity provider of the tests learns who sits there by a header. Nothing is fetched from the program's own redirect
// address: what it would be told there is the result.

const REDIRECTS_MAX = 20;

export async function authorize(start, { person, redirect, consents = true }) {
  const jar = new Map();
  let url = new URL(start);
  for (let steps = 0; steps < REDIRECTS_MAX; steps++) {
    const headers = { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") };
    if (person) headers["x-person"] = person;
    if (!consents) headers["x-consent"] = "no";
    const response = await fetch(url, { headers, redirect: "manual" });
    for (const cookie of response.headers.getSetCookie()) keep(jar, cookie);
    const body = await response.text();
    const location = response.headers.get("location");
    if (!location) throw new Error(`the provider shows a page: ${response.status} ${body.slice(0, 300)}`);
    url = new URL(location, url);
    if (url.href.startsWith(redirect)) return url.searchParams;
  }
  throw new Error(`more than ${REDIRECTS_MAX} redirects`);
}

function keep(jar, cookie) {
  const [name, ...value] = cookie.split(";", 1)[0].split("=");
  if (/expires=Thu, 01 Jan 1970/i.test(cookie)) jar.delete(name);
  else jar.set(name, value.join("="));
}
