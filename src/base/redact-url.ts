/** Takes `user:password@` and query strings out of a URL that is about to be shown. */
export function redactUrl(url: string): string {
  return url.replace(/(\w+:\/\/)[^/@\s]+@/g, '$1').replace(/\?.*$/, '');
}
