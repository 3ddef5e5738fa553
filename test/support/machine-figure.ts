import type { AnyStateMachine } from 'xstate';

type Node = AnyStateMachine['root'];

/**
 * A machine as a Mermaid state diagram. Transitions of every state of a compound state start at its node `any`; labels
 * read `EVENT [guard] / intents`.
 */
export function machineFigure(machine: AnyStateMachine): string {
  const lines = ['stateDiagram-v2'];
  renderChildren(machine.root, '  ', lines);
  return lines.join('\n');
}

function renderChildren(node: Node, indent: string, lines: string[]): void {
  const children = Object.values(node.states);
  const inner = transitionsOf(node).filter(({ target }) => target === undefined || isInside(target, node));
  if (node.type === 'parallel') {
    children.forEach((child, index) => {
      if (index > 0) lines.push(`${indent}--`);
      renderChildren(child, indent, lines);
    });
  } else {
    const [initial] = node.initial.target ?? [];
    if (initial !== undefined) lines.push(`${indent}[*] --> ${idOf(initial)}`);
    for (const child of children) renderState(child, indent, lines);
  }
  if (inner.length > 0) {
    lines.push(`${indent}state "any" as ${anyOf(node)}`);
    for (const { target, label } of inner)
      lines.push(`${indent}${anyOf(node)} --> ${target === undefined ? anyOf(node) : idOf(target)} : ${label}`);
  }
}

function renderState(node: Node, indent: string, lines: string[]): void {
  if (Object.keys(node.states).length > 0) {
    lines.push(`${indent}state "${node.key}" as ${idOf(node)} {`);
    renderChildren(node, `${indent}  `, lines);
    lines.push(`${indent}}`);
  } else lines.push(`${indent}state "${node.key}" as ${idOf(node)}`);
  const isAtomic = Object.keys(node.states).length === 0;
  for (const { target, label, silent } of transitionsOf(node)) {
    if (isAtomic && target === undefined && silent) continue;
    if (isAtomic && target === undefined) lines.push(`${indent}${idOf(node)} --> ${idOf(node)} : ${label}`);
    else if (target !== undefined && (isAtomic || !isInside(target, node)))
      lines.push(`${indent}${idOf(node)} --> ${idOf(target)} : ${label}`);
  }
}

function transitionsOf(node: Node): readonly { readonly target: Node | undefined; readonly label: string; readonly silent: boolean }[] {
  return [...node.transitions.values()].flat().flatMap(({ eventType, guard, actions, target }) => {
    const label = [
      eventType,
      ...(guard === undefined ? [] : [`[${nameOf(guard)}]`]),
      ...(actions.length === 0 ? [] : [`/ ${actions.map(nameOf).join(', ')}`]),
    ].join(' ');
    const targets: readonly (Node | undefined)[] = target === undefined || target.length === 0 ? [undefined] : target;
    return targets.map((one) => ({ target: one, label, silent: actions.length === 0 }));
  });
}

function nameOf(named: unknown): string {
  if (typeof named === 'string') return named;
  return typeof named === 'object' && named !== null && 'type' in named ? String(named.type) : 'inline';
}

const isInside = (node: Node, ancestor: Node): boolean =>
  node.path.length > ancestor.path.length && ancestor.path.every((key, index) => node.path[index] === key);
const idOf = (node: Node): string => node.path.map((key) => key.replace(/[^A-Za-z0-9]/g, '_')).join('_') || 'root';
const anyOf = (node: Node): string => `${idOf(node)}_any`;
