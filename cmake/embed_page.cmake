# Writes `out`, a C++ source that holds the page of the folder `page` (launcher/plan_page.h):
#
#   cmake -D page=<folder> -D out=<file> -P embed_page.cmake
file(GLOB scripts ${page}/*.js)
list(SORT scripts)
set(script)
foreach(path ${scripts})
  file(READ ${path} text)
  string(APPEND script "${text}")
endforeach()
file(READ ${page}/page.html template)
file(READ ${page}/style.css style)

set(source "#include \"launcher/plan_page.h\"\n\nnamespace weft {\n")
foreach(part Template:template Style:style Script:script)
  string(REGEX REPLACE ":.*" "" name ${part})
  string(REGEX REPLACE ".*:" "" variable ${part})
  string(APPEND source
    "const char kPlanPage${name}[] = R\"weft_page(${${variable}})weft_page\";\n")
endforeach()
string(APPEND source "}  // namespace weft\n")
file(WRITE ${out} "${source}")
