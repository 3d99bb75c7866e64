import type { AnnotationQuery, Dashboard } from '@grafana/schema';
// JSON has no enums: a member of one is its text
type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// what the Prometheus data source keeps beside the common part of an annotation
type Annotation = AnnotationQuery & { expr?: string; step?: string; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean };
export type Board = Plain<Omit<Dashboard, 'annotations'>> & { annotations: { list: Annotation[] } };
