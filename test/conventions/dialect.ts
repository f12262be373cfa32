/**
 * Rules of the dialect that oxlint has none of its own for, as a plugin of it (.oxlintrc.json): names of booleans and of constants, null, and
 * String() in templates. Each looks at the syntax alone.
 */

/** What is used of a node of the syntax tree; its `type` says which of the rest it has. */
interface SyntaxNode {
  readonly type: string
  readonly parent: SyntaxNode
  readonly name?: string
  readonly key?: SyntaxNode
  readonly id?: SyntaxNode
  readonly init?: SyntaxNode
  readonly left?: SyntaxNode
  readonly right?: SyntaxNode
  readonly argument?: SyntaxNode
  readonly callee?: SyntaxNode
  readonly operator?: string
  readonly kind?: string
  readonly value?: unknown
  readonly raw?: string
  readonly computed?: boolean
  readonly expressions?: readonly SyntaxNode[]
  readonly declarations?: readonly SyntaxNode[]
  readonly declaration?: SyntaxNode
  readonly body?: readonly SyntaxNode[]
  readonly typeAnnotation?: SyntaxNode
}

interface Context {
  report(problem: { readonly node: SyntaxNode; readonly message: string }): void
}

interface Rule {
  create(context: Context): Readonly<Record<string, (node: SyntaxNode) => void>>
}

const SAYS_YES_OR_NO = /^(?:is|are|was|has|may)[A-Z0-9]/
const UPPER_CASE = /^[A-Z][A-Z0-9_]*$/
const COMPARISONS: readonly string[] = ['===', '!==', '<', '<=', '>', '>=', 'in', 'instanceof']

const isBoolean = (type: SyntaxNode | undefined): boolean => type?.typeAnnotation?.type === 'TSBooleanKeyword'

/** Whether an expression is true or false whatever is in it. */
const isJudgement = (node: SyntaxNode | undefined): boolean =>
  (node?.type === 'BinaryExpression' && COMPARISONS.includes(node.operator ?? '')) ||
  (node?.type === 'UnaryExpression' && node.operator === '!') ||
  (node?.type === 'Literal' && typeof node.value === 'boolean')

/** Numbers, texts and patterns, and what is reckoned from them. */
function isPlain(node: SyntaxNode | undefined): boolean {
  if (node?.type === 'Literal') return typeof node.value !== 'boolean' && node.value !== null
  if (node?.type === 'TemplateLiteral') return node.expressions?.length === 0
  if (node?.type === 'UnaryExpression') return isPlain(node.argument)
  return node?.type === 'BinaryExpression' && isPlain(node.left) && isPlain(node.right)
}

const booleanNames: Rule = {
  create: (context) => {
    const check = (name: SyntaxNode | undefined): void => {
      if (name?.type !== 'Identifier' || name.name === undefined || SAYS_YES_OR_NO.test(name.name)) return
      context.report({ node: name, message: `${name.name} is true or false: begin it with is, are, was, has or may` })
    }
    return {
      TSPropertySignature: (node) => {
        if (isBoolean(node.typeAnnotation)) check(node.key)
      },
      PropertyDefinition: (node) => {
        if (isBoolean(node.typeAnnotation)) check(node.key)
      },
      // Parameters and annotated variables.
      Identifier: (node) => {
        if (isBoolean(node.typeAnnotation)) check(node)
      },
      VariableDeclarator: (node) => {
        if (isJudgement(node.init) && !node.id?.typeAnnotation) check(node.id)
      },
    }
  },
}

const constantNames: Rule = {
  create: (context) => ({
    Program: (program) => {
      for (const statement of program.body ?? []) {
        const declared = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
        if (declared?.type !== 'VariableDeclaration' || declared.kind !== 'const') continue
        for (const { id, init } of declared.declarations ?? [])
          if (id?.name !== undefined && isPlain(init) && !UPPER_CASE.test(id.name))
            context.report({ node: id, message: `${id.name} is a constant of the module: write it in UPPER_CASE` })
      }
    },
  }),
}

/** As a value and as a type. What comes from others may be compared with it. */
const noNull: Rule = {
  create: (context) => {
    const message = 'undefined says that there is nothing; null is for JSON'
    return {
      TSNullKeyword: (node) => context.report({ node, message }),
      Literal: (node) => {
        const isCompared = node.parent.type === 'BinaryExpression' && COMPARISONS.includes(node.parent.operator ?? '')
        if (node.raw === 'null' && !isCompared) context.report({ node, message })
      },
    }
  },
}

const noStringInTemplates: Rule = {
  create: (context) => ({
    TemplateLiteral: (template) => {
      for (const node of template.expressions ?? [])
        if (node.type === 'CallExpression' && node.callee?.type === 'Identifier' && node.callee.name === 'String')
          context.report({ node, message: 'a template makes a text of it anyhow: leave out String()' })
    },
  }),
}

export default {
  meta: { name: 'dialect' },
  rules: {
    'boolean-names': booleanNames,
    'constant-names': constantNames,
    'no-null': noNull,
    'no-string-in-templates': noStringInTemplates,
  },
}
