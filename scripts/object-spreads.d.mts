export function shareClassesOfCopies(code: string, parse: (code: string) => { readonly body: readonly unknown[] }): string;
