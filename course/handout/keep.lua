-- A line that introduces a listing, a table or a formula stays on its page.
local function introduced(block)
  if block == nil then return false end
  if block.t == "CodeBlock" or block.t == "Table" then return true end
  local first = block.t == "Para" and block.content[1]
  return first and first.t == "Math" and first.mathtype == "DisplayMath"
end

function Blocks(blocks)
  local kept = pandoc.Blocks({})
  for i, block in ipairs(blocks) do
    if block.t == "Para" and introduced(blocks[i + 1]) then
      kept:insert(pandoc.RawBlock("typst", "#block(sticky: true)["))
      kept:insert(block)
      kept:insert(pandoc.RawBlock("typst", "]"))
    else
      kept:insert(block)
    end
  end
  return kept
end
