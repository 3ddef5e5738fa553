export function errorsOfMessage(message: string): readonly string[];
