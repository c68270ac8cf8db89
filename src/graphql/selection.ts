/**
 * Which columns a request needs: the fields it selects, and what each of them reads.
 *
 * A field reads the column of its own name, unless it says otherwise with `extensions: reads(...)`.
 */
import {
  getNamedType, GraphQLIncludeDirective, GraphQLSkipDirective, getDirectiveValues, isCompositeType, isObjectType,
  type GraphQLNamedType, type GraphQLResolveInfo, type SelectionSetNode,
} from 'graphql';
import { isColumn, type Noun } from '../records/rows.ts';

declare module 'graphql' {
  interface GraphQLFieldExtensions<_TSource, _TContext, _TArgs> {
    reads?: readonly string[];
  }
}

/** Declares the columns that a field's resolver reads. */
export const reads = (...columns: string[]): { reads: readonly string[] } => ({ reads: columns });

/** Types that only carry records, so that the selection goes on inside them. */
const CARRIER = /(Connection|Edge|Payload)$/;

/** The columns of a noun that the request reads, somewhere below the field being resolved. */
export function neededColumns(info: GraphQLResolveInfo, noun: Noun): Set<string> {
  const columns = new Set<string>();
  const visit = (type: GraphQLNamedType, set: SelectionSetNode | undefined): void => {
    for (const selection of set?.selections ?? []) {
      if (getDirectiveValues(GraphQLSkipDirective, selection, info.variableValues)?.['if'] === true) continue;
      if (getDirectiveValues(GraphQLIncludeDirective, selection, info.variableValues)?.['if'] === false) continue;
      if (selection.kind === 'Field') {
        const field = isObjectType(type) ? type.getFields()[selection.name.value] : undefined;
        if (field === undefined) continue;
        if (type.name === noun) {
          const names = field.extensions.reads ?? (isColumn(noun, field.name) ? [field.name] : []);
          for (const name of names) columns.add(name);
          continue;
        }
        const next = getNamedType(field.type);
        if (isCompositeType(next) && (next.name === noun || CARRIER.test(next.name))) visit(next, selection.selectionSet);
        continue;
      }
      const fragment = selection.kind === 'FragmentSpread' ? info.fragments[selection.name.value] : selection;
      const condition = fragment?.typeCondition === undefined ? type : info.schema.getType(fragment.typeCondition.name.value);
      // Within an object, a fragment on one of its interfaces selects fields of the object.
      visit(isObjectType(type) || condition === undefined ? type : condition, fragment?.selectionSet);
    }
  };
  const start = getNamedType(info.returnType);
  for (const node of info.fieldNodes) visit(start, node.selectionSet);
  columns.delete('id');
  return columns;
}
