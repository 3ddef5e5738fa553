/**
 * The syntax of label keys and values, and of everything else that Kubernetes calls a qualified name (annotation keys, taint keys,
 * finalizers). Each function returns the broken rules, worded as the real server words them; none when the text is valid.
 *
 * @see Kubernetes concepts, "Labels and Selectors", "Syntax and character set"
 */

const namePart = "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const nameRegex = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const nameSyntax = `must consist of ${namePart} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`;
const valueSyntax = `a valid label must be an empty string or consist of ${namePart} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`;
const subdomainRegex = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const subdomainSyntax =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/** A name with an optional DNS prefix: `app`, `app.kubernetes.io/name`. */
export function qualifiedNameErrors(text: string): readonly string[] {
  const errors: string[] = [];
  const parts = text.split('/');
  if (parts.length > 2) {
    return [`a qualified name ${nameSyntax} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  }
  const [first = '', second] = parts;
  if (second !== undefined) {
    if (first === '') {
      errors.push('prefix part must be non-empty');
    } else {
      if (first.length > 253) errors.push('prefix part must be no more than 253 bytes');
      if (!subdomainRegex.test(first)) errors.push(`prefix part ${subdomainSyntax}`);
    }
  }
  const name = second ?? first;
  if (name === '') errors.push('name part must be non-empty');
  else if (name.length > 63) errors.push('name part must be no more than 63 bytes');
  if (!nameRegex.test(name)) errors.push(`name part ${nameSyntax}`);
  return errors;
}

export function labelValueErrors(text: string): readonly string[] {
  const errors: string[] = [];
  if (text.length > 63) errors.push('must be no more than 63 bytes');
  if (text !== '' && !nameRegex.test(text)) errors.push(valueSyntax);
  return errors;
}
